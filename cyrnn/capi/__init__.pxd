# What cyrnn.h declares, under the name that consumers cimport.
from cyrnn.engine.capi cimport *
