# Row-major BLAS over SciPy's Fortran one: the only home of leading dimensions, 'N', 'T' and const-casts.
#
# Fortran reads a row-major matrix as its transpose, so C := A . B is asked for as C' := B' . A'.
from libc.string cimport memset
from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

from cyrnn.engine.contract cimport real


cdef inline void multiply(int m, int n, int k, const real *a, int lda, const real *b, int ldb,
                          real *c, int ldc) noexcept nogil:
    """C := A . B, with A (m, k), B (k, n) and C (m, n), whose rows are lda, ldb and ldc elements apart; k > 0"""
    cdef real one = 1, zero = 0
    cdef char *as_is = b"N"
    if real is float:
        sgemm(as_is, as_is, &n, &m, &k, &one, <float *> b, &ldb, <float *> a, &lda, &zero, c, &ldc)
    else:
        dgemm(as_is, as_is, &n, &m, &k, &one, <double *> b, &ldb, <double *> a, &lda, &zero, c, &ldc)


cdef inline void multiply_t(int m, int n, int k, const real *a, int lda, const real *b_t, int ldb,
                            real *c_t, int ldc) noexcept nogil:
    """C' := (A . B)', with A (m, k), B' (n, k) and C' (n, m), whose rows are lda, ldb and ldc elements apart; k > 0"""
    cdef real one = 1, zero = 0
    cdef char *as_is = b"N"
    cdef char *transposed = b"T"
    if real is float:
        sgemm(transposed, as_is, &m, &n, &k, &one, <float *> a, &lda, <float *> b_t, &ldb, &zero, c_t, &ldc)
    else:
        dgemm(transposed, as_is, &m, &n, &k, &one, <double *> a, &lda, <double *> b_t, &ldb, &zero, c_t, &ldc)


cdef inline void accumulate_t(int m, int n, int k, const real *a, int lda, const real *b, int ldb,
                              real *c, int ldc) noexcept nogil:
    """C := C + A' . B, with A (k, m), B (k, n) and C (m, n), whose rows are lda, ldb and ldc elements apart; k > 0"""
    cdef real one = 1
    cdef char *as_is = b"N"
    cdef char *transposed = b"T"
    if real is float:
        sgemm(as_is, transposed, &n, &m, &k, &one, <float *> b, &ldb, <float *> a, &lda, &one, c, &ldc)
    else:
        dgemm(as_is, transposed, &n, &m, &k, &one, <double *> b, &ldb, <double *> a, &lda, &one, c, &ldc)


cdef inline void multiply_row(int n, int k, const real *a, const real *b, int ldb, real *c) noexcept nogil:
    """c := a . B, with a (k), B (k, n) and c (n); k > 0"""
    cdef real one = 1
    cdef int increment = 1
    cdef char *as_is = b"N"
    memset(c, 0, n * sizeof(real))  # with beta = 0 some gemv multiply what was there, and keep its NaN
    if real is float:
        sgemv(as_is, &n, &k, &one, <float *> b, &ldb, <float *> a, &increment, &one, c, &increment)
    else:
        dgemv(as_is, &n, &k, &one, <double *> b, &ldb, <double *> a, &increment, &one, c, &increment)
