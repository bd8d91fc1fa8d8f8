from .card import with_section as with_section
from .embedding_file import check_output as check_output
from .embedding_file import write_embeddings as write_embeddings
from .naming import find_model as find_model
from .persistence import Head as Head
from .persistence import quietly as quietly
from .pooling import Pooling as Pooling
from .sentence_encoder import SentenceEncoder as SentenceEncoder
