from .false_negatives import equal_text_mask as equal_text_mask
from .false_negatives import linked_text_mask as linked_text_mask
from .info_nce import InfoNCE as InfoNCE
from .info_nce import info_nce as info_nce
