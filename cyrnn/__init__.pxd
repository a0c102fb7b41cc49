# cyrnn from Cython: what cyrnn.h declares. The C compiler finds that header in cyrnn.get_include().
from cyrnn.capi cimport *
