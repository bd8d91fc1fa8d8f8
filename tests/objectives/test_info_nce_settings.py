"""Settings of InfoNCE that do not go together are refused, each in a sentence."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from simcse_kit.errors import explain_settings
from simcse_kit.objectives import InfoNCE
from simcse_kit.parts import spec_of

REFUSED = [
    ({"learn_temperature": True, "final_temperature": 0.1}, "each decide the temperature"),
    ({"learn_temperature": True, "temperature": 0.005}, "keeps it at 0.01 or more; 0.005 is less"),
    ({"temperature_schedule": "cosine"}, "set that, too"),
    ({"adaptive_to": "alignment"}, "adaptive_temperature is 0"),
    ({"adaptive_origin": 0.3}, "adaptive_temperature is 0"),
    ({"symmetric": True, "negatives": "all"}, "takes already"),
    ({"same_side": True, "negatives": "all"}, "has already"),
    ({"decoupled": True, "focal": 1.0}, "positive's probability"),
    ({"self_paced": 0.3, "margin": 10.0}, "puts its square in its place"),
    ({"self_paced": 0.3, "debiased": 0.1}, "by their own cosines"),
    ({"self_paced": 0.3, "hardness": 1.0}, "by their own cosines"),
    ({"debiased": 0.1, "mixed": 0.2}, "draws of the data"),
    ({"debiased": 0.1, "gaussian": 64}, "draws of the data"),
    ({"guide_relative": True}, "guide_margin, which is not set"),
    ({"temperature": 0}, "temperature must be greater than 0"),
    ({"temperature": True}, "temperature must be a number"),
    ({"temperature": float("nan")}, "finite"),
    ({"hard_negative_weight": 0}, "greater than 0"),
    ({"debiased": 1.0}, "less than 1"),
    ({"mixed": 1.0}, "less than 1"),
    ({"gaussian": -1}, "greater than or equal to 0"),
    ({"margin": 91}, "less than or equal to 90"),
    ({"negatives": "al"}, "did you mean 'all'"),
]


@pytest.mark.parametrize(("own", "words"), REFUSED, ids=str)
def test_what_makes_no_sense_is_refused_in_a_sentence(own, words):
    with pytest.raises(ValidationError) as refused:
        InfoNCE.Settings(**own)
    sentence = explain_settings(refused.value)
    assert words in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("name", InfoNCE.Settings.model_fields)
def test_every_setting_has_a_default_and_says_what_it_does(name):
    field = InfoNCE.Settings.model_fields[name]
    assert not field.is_required()
    assert field.description


def test_a_recipe_reads_back_what_it_wrote():
    given = {"name": "info_nce", "negatives": "all", "hardness": 1.0, "debiased": 0.1}
    written = spec_of("objective", given).model_dump()
    assert written["temperature"] == 0.05
    assert spec_of("objective", written).settings == spec_of("objective", given).settings
