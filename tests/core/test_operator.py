"""Operators are called by the module they stand for, whatever a converter wrote around it."""

from __future__ import annotations

import pytest

from edgeprune.core.operator import short_name


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("node_conv2d_3", "node_conv2d_3"),
        (
            "pkg.Net/torch.nn.modules.container.Sequential_features/pkg.Block_0;;pkg.Net/other_1",
            "features.0",
        ),
        (
            "edgeprune-file:/tmp/a/model.py.Net/torch.nn.modules.conv.Conv2d_conv1;1",
            "conv1",
        ),
        (";;pkg.Net/torch.nn.modules.linear.Linear_head;", "head"),
        ("pkg.Net;;pkg.Net/torch.nn.modules.conv.Conv2d_stem;1;", "stem"),
        (
            "pkg.Net/torch.nn.modules.container.Sequential_0/torch.nn.modules.activation.ReLU_2;;"
            "pkg.Net/torch.nn.modules.container.Sequential_0/torch.nn.modules.conv.Conv2d_0;1;",
            "0.0",
        ),
        ("serving_default_output_0_output;", "serving_default_output_0_output"),
        ("no/module/here", "no/module/here"),
        ("", ""),
    ],
)
def test_a_name_as_people_read_it(name: str, short: str) -> None:
    assert short_name(name) == short
