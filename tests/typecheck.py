"""beartype, for which a whole number may stand for a float, as it may for type checkers (PEP 484)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
