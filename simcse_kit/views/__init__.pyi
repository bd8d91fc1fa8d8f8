from .given import dropout_twins as dropout_twins
from .given import given_columns as given_columns
