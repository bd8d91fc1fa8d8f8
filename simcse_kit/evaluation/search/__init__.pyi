from .duplicates import evaluate_duplicates as evaluate_duplicates
from .duplicates import load_duplicates as load_duplicates
from .retrieval import retrieval as retrieval
from .retrieval_data import COLUMNS as COLUMNS
from .retrieval_data import RetrievalTask as RetrievalTask
from .retrieval_data import load_beir as load_beir
from .retrieval_data import load_retrieval as load_retrieval
from .retrieval_task import evaluate_retrieval as evaluate_retrieval
