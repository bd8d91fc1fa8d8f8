from .given import dropout_twins as dropout_twins
from .given import given_columns as given_columns
from .pairings.pairing import Pairing as Pairing
from .view import Draws as Draws
from .view import View as View
from .view import Vocabulary as Vocabulary
