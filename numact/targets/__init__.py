"""What runs the kernels: `cpu` by threads and SIMD, `cuda` by grids."""
