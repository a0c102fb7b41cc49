# Row-major BLAS over SciPy's Fortran one: the only home of leading dimensions, 'N' and const-casts.
from libc.string cimport memset
from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

from cyrnn.engine.contract cimport real


cdef inline void matmul(int m, int n, int k, const real *a, int lda, const real *b, int ldb,
                        real *c, int ldc) noexcept nogil:
    """C := A . B, with A (m, k), B (k, n) and C (m, n), rows lda, ldb and ldc elements apart.

    Fortran reads a row-major matrix as its transpose, so this asks it for C' := B' . A'.
    A single row goes through gemv: gemm is up to ten times slower there.
    """
    cdef real one = 1, zero = 0
    cdef int row, increment = 1
    cdef char *n_ = b"N"
    if k == 0:
        for row in range(m):
            memset(c + <ptrdiff_t> row * ldc, 0, n * sizeof(real))
    elif m == 1:
        memset(c, 0, n * sizeof(real))  # with beta = 0 some gemv multiply what was there, and keep its NaN
        if real is float:
            sgemv(n_, &n, &k, &one, <float *> b, &ldb, <float *> a, &increment, &one, c, &increment)
        else:
            dgemv(n_, &n, &k, &one, <double *> b, &ldb, <double *> a, &increment, &one, c, &increment)
    else:
        if real is float:
            sgemm(n_, n_, &n, &m, &k, &one, <float *> b, &ldb, <float *> a, &lda, &zero, c, &ldc)
        else:
            dgemm(n_, n_, &n, &m, &k, &one, <double *> b, &ldb, <double *> a, &lda, &zero, c, &ldc)
