from .build import COMPILED_TYPES as COMPILED_TYPES
from .build import built_kernels as built_kernels
from .build import kernels as kernels
