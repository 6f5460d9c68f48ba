"""Networks: which torchvision and timm builders are measured, at which input, with which weights.

Nothing is downloaded: weights are random, and no parameter or statistic is left at a constant, since a
layer scale of 1e-6, a head of zeros or a batch norm that does nothing would hide a wrong cut.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import torch
from torch import Tensor, nn

from edgeprune.core.foreign import import_torchvision

Sizes = tuple[tuple[int, ...], ...]
"""One entry per input, each without its batch axis."""

FAMILIES = ("classification", "segmentation", "detection", "video", "optical_flow")
_FRAMES = 16
_CONSTANT = 1e-4
"""A tensor whose values differ by less (torchvision draws some biases from N(0, 1e-6)) is constant."""
_FIXED: dict[str, Sizes] = {
    "segmentation": ((3, 520, 520),),
    "detection": ((3, 320, 320),),
    "optical_flow": ((3, 128, 128), (3, 128, 128)),
}

# One per family of timm 1.0.20 (module of timm.models), its variant with the fewest parameters; then, going
# round the families with most architectures, the smallest model of an architecture not there yet, until there
# were 100. Deprecated names are left out, and so is what has more than 60 M parameters.
TIMM = """
    cait_xxs24_224 coat_tiny coatnet_pico_rw_224 convit_tiny convmixer_768_32 convnext_zepto_rms
    convnextv2_atto crossvit_tiny_240 cs3darknet_focus_s darknet17 davit_tiny deit_tiny_patch16_224
    densenet121 densenetblur121d dla46x_c dpn48b eca_botnext26ts_256 eca_nfnet_l0 edgenext_xx_small
    efficientformer_l1 efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim_dw eva02_tiny_patch14_224
    fasternet_t0 fastvit_t8 flexivit_small focalnet_tiny_srf gcvit_xxtiny gernet_s ghostnet_050
    ghostnetv3_050 gmixer_12_224 gmlp_ti16_224 halonet_h1 hardcorenas_b hgnet_tiny hgnetv2_b0
    hiera_tiny_224 hrnet_w18_small inception_next_atto inception_resnet_v2 inception_v3 inception_v4
    lcnet_035 legacy_seresnet18 legacy_xception levit_128s mambaout_femto maxvit_pico_rw_256
    mnasnet_small mobilenetv2_035 mobilenetv3_small_050 mobileone_s1 mobilevit_xxs mobilevitv2_050
    mvitv2_tiny nextvit_small nf_regnet_b0 pit_ti_224 poolformer_s12 poolformerv2_s12 pvt_v2_b0
    rdnet_tiny repghostnet_050 repvgg_a0 repvit_m1 res2next50 resnest14d resnet10t resnetblur18
    resnetv2_18 rexnet_100 rexnetr_100 sam2_hiera_tiny selecsls42 sequencer2d_s seresnet18 shvit_s1
    skresnet18 skresnext50_32x4d starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224
    swinv2_cr_tiny_224 swinv2_tiny_window16_256 tiny_vit_5m_224 tnt_s_legacy_patch16_224 tresnet_m
    twins_svt_small visformer_tiny vit_pe_spatial_tiny_patch16_512 vit_srelpos_small_patch16_224
    vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224 vovnet39a xception41p
    xcit_nano_12_p8_224
""".split()


@dataclass(frozen=True, slots=True)
class Network:
    """A builder, called in the process that measures it."""

    source: str
    """`torchvision` or `timm`."""
    name: str
    family: str = ""

    def build(self) -> tuple[nn.Module, Sizes]:
        """The module in evaluation mode with seeded random weights, and the sizes of its inputs."""
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._torchvision() if self.source == "torchvision" else self._timm()

    def _torchvision(self) -> tuple[nn.Module, Sizes]:
        backbone = {"weights_backbone": None} if self.family in {"segmentation", "detection"} else {}
        module = _models().get_model(self.name, weights=None, **backbone)
        return woken(module).eval(), torchvision_sizes(self.name, self.family)

    def _timm(self) -> tuple[nn.Module, Sizes]:
        import_torchvision()
        module = importlib.import_module("timm").create_model(self.name, pretrained=False)
        return woken(module).eval(), (tuple(module.pretrained_cfg["input_size"]),)


def torchvision_networks() -> list[Network]:
    """All builders of the measured families, those with few parameters first."""
    models = _models()
    found = []
    for family in FAMILIES:
        module = models if family == "classification" else getattr(models, family)
        found += [Network("torchvision", name, family) for name in models.list_models(module=module)]
    return sorted(found, key=lambda one: torchvision_parameters(one.name))


def torchvision_parameters(name: str) -> int:
    """Parameters of a builder, from what its published weights say of themselves."""
    return int(_models().get_model_weights(name).DEFAULT.meta["num_params"])


def torchvision_sizes(name: str, family: str) -> Sizes:
    """The inputs of a builder: the smallest crop its published weights were evaluated with."""
    if name == "ssd300_vgg16":
        return ((3, 300, 300),)
    if family in _FIXED:
        return _FIXED[family]
    transforms = [one.transforms for one in _models().get_model_weights(name)]
    crops = [one.keywords["crop_size"] for one in transforms if isinstance(one, partial)]
    height, width = min((one, one) if isinstance(one, int) else tuple(one) for one in crops)
    return ((3, _FRAMES, height, width) if family == "video" else (3, height, width),)


def timm_networks() -> list[Network]:
    """The chosen timm models, by name."""
    return [Network("timm", name) for name in TIMM]


def woken(module: nn.Module) -> nn.Module:
    """The module with every constant parameter and statistic moved by up to 0.3 (gains stay positive)."""
    with torch.no_grad():
        for parameter in module.parameters():
            _stir(parameter)
        for name, buffer in module.named_buffers():
            if name.rpartition(".")[2] in {"running_mean", "running_var"}:
                _stir(buffer)
    return module


def _stir(tensor: Tensor) -> None:
    if tensor.is_floating_point() and tensor.numel() and float(tensor.max() - tensor.min()) < _CONSTANT:
        # A matrix of zeros (a head, the last layer of a block) gets the size of an ordinary one.
        reach = 0.3 if tensor.squeeze().ndim < 2 else 0.05
        tensor.add_(torch.empty_like(tensor).uniform_(-reach, reach))


def _models() -> ModuleType:
    models: ModuleType = import_torchvision().models
    return models
