from .complaints import OTHER_NAMES as OTHER_NAMES
from .complaints import explain as explain
from .complaints import explain_settings as explain_settings
from .complaints import key_error as key_error
from .complaints import one_of as one_of
from .input_error import InputError as InputError
