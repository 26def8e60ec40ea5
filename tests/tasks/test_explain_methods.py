"""The rules of each method by hand, and every method on every kind of encoder, from real checkpoints' format."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from modalign.align.config import TowerConfig
from modalign.align.model import Tower
from modalign.modalities import get_modality
from modalign.modalities.base import Encoder, EncoderOutput, Signal, masked_mean
from modalign.modalities.ecg.leads import STANDARD
from modalign.modalities.layers.transformer import Transformer
from modalign.modalities.registry import BUILT_IN
from modalign.modalities.spans import TokenSpans, grid_spans, mean_rows
from modalign.tasks.explain import METHODS, Target, explain, register_method
from modalign.tasks.explain.attention import product, weighted
from modalign.tasks.explain.capture import captured
from modalign.tasks.explain.registry import Window
from modalign.tasks.explain.rollout import rolled

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_rule_by_hand():
    attention, slope = draw(3, 1, 4, 6, 6).softmax(-1), draw(3, 1, 4, 6, 6, seed=1)
    layers = [weighted(a, g) for a, g in zip(attention, slope)]
    for layer, a, g in zip(layers, attention, slope):
        torch.testing.assert_close(layer[0], sum((a[0, h] * g[0, h]).clamp_min(0) for h in range(4)) / 4)
        assert (layer >= 0).all()
    eye = torch.eye(6)
    expected = (eye + layers[2][0]) @ (eye + layers[1][0]) @ (eye + layers[0][0])  # no row is normalised
    torch.testing.assert_close(product(layers, eye[None])[0], expected)
    torch.testing.assert_close(product(layers, eye[None, :1])[0, 0], expected[0])  # the class token's row
    assert torch.equal(product([torch.zeros(1, 6, 6)] * 3, eye[None])[0], eye)  # no attention counts: C = I


def test_rollout_by_hand():
    attention = draw(3, 2, 4, 5, 5).softmax(-1)
    mixed = [(a.mean(1) + torch.eye(5)) / 2 for a in attention]
    found = rolled(list(attention), torch.eye(5).expand(2, -1, -1))
    torch.testing.assert_close(found, mixed[2] @ mixed[1] @ mixed[0])
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 5))


@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal"])
def test_what_is_caught_is_what_is_computed(mask):
    q, k, v = (draw(2, 3, 5, 4, seed=s) for s in range(3))
    options = {"none": {}, "causal": {"is_causal": True}, "bool": {"attn_mask": torch.tensor([[True] * 4 + [False]])}}
    given = options.get(mask, {"attn_mask": draw(5, 5, seed=4), "scale": 0.3})
    plain = F.scaled_dot_product_attention(q, k, v, **given)
    with captured(10) as weights:
        out = F.scaled_dot_product_attention(q, k, v, **given)
    torch.testing.assert_close(out, plain)
    torch.testing.assert_close(weights[0] @ v, plain)
    grouped = F.scaled_dot_product_attention(q, k[:, :1], v[:, :1], enable_gqa=True)
    with captured(10) as weights:
        torch.testing.assert_close(F.scaled_dot_product_attention(q, k[:, :1], v[:, :1], enable_gqa=True), grouped)
        F.softmax(draw(7, 3), -1)  # no attention
        draw(2, 3, 4, 4).softmax(-1)  # over other tokens
    assert len(weights) == 1
    F.scaled_dot_product_attention(q, k, v)
    assert len(weights) == 1  # nothing stays hooked


def test_attention_is_differentiated_as_it_is_used():
    """The gradient of what is caught is that of a change of the weights, by finite differences."""
    torch.manual_seed(0)
    blocks, tokens = Transformer(8, 2, 2).double().eval(), draw(1, 4, 8).double()
    with captured(4) as layers:
        value = blocks(tokens)[0, 0, 0]
    slopes = torch.autograd.grad(value, layers)
    assert [tuple(a.shape) for a in layers] == [(1, 2, 4, 4)] * 2
    last = blocks.blocks[1].attn
    q, k, v = last.qkv(blocks.blocks[1].norm1(blocks.blocks[0](tokens))).reshape(1, 4, 3, 2, 4).permute(2, 0, 3, 1, 4)

    def value_with(weights):
        mixed = last.out((weights @ v).transpose(1, 2).reshape(1, 4, 8))
        after = blocks.blocks[0](tokens) + mixed
        return blocks.norm(after + blocks.blocks[1].mlp(blocks.blocks[1].norm2(after)))[0, 0, 0]

    weights = (q @ k.transpose(-2, -1) / 2).softmax(-1)
    step = torch.zeros_like(weights)
    step[0, 1, 0, 2] = 1e-6
    measured = (value_with(weights + step) - value_with(weights - step)) / 2e-6
    assert slopes[1][0, 1, 0, 2].item() == pytest.approx(measured.item(), rel=1e-4)


def test_it_is_the_rule_on_what_transformers_itself_gives_as_attentions(towers):
    """The same from `output_attentions` of the eager implementation, whose gradients autograd keeps."""
    tower = towers("ViT")
    window = tower.processing.collate([tower.processing(XRAY)])
    model = tower.encoder.model
    used = model.config._attn_implementation
    model.set_attn_implementation("eager")
    out = model(pixel_values=window["values"], output_attentions=True)
    for attention in out.attentions:
        attention.retain_grad()
    TARGET.score(tower({"pooled": out.last_hidden_state[:, 0]})).backward()
    relevance = torch.eye(17)
    for attention in out.attentions:
        relevance = relevance + (attention.grad * attention).clamp_min(0).mean(1)[0] @ relevance
    model.zero_grad()
    model.set_attn_implementation(used)
    expected = relevance[0, 1:].view(4, 4).detach()
    found = explain(tower, XRAY, TARGET, "attention").parts[0].relevance.sum(0)
    torch.testing.assert_close(found.view(4, 8, 4, 8).sum((1, 3)), expected, rtol=1e-4, atol=1e-8)


class OneToken(Encoder):
    """Weights by hand: attention is even, and only token 3's value reaches what is pooled."""

    width = 2

    def forward(self, values, mask):
        tokens = values[:, 0].unfold(1, 5, 5)
        count = tokens.shape[1]
        value = torch.zeros(len(values), 1, count, 2)
        value[:, :, 3, 0] = tokens[:, 3].mean(-1, keepdim=True)
        even = torch.zeros(len(values), 1, count, 4)
        out = F.scaled_dot_product_attention(even, even, value)[:, 0]
        return EncoderOutput(out, mask.new_ones(out.shape[:2]), out.mean(1) + torch.tensor([0.0, 1.0]))

    def token_spans(self, inputs):
        spans = grid_spans(inputs["values"].shape[1:], (1, 5))
        return TokenSpans(spans, mean_rows(torch.ones(len(spans))))

    def options(self):
        return {}


class Steps(Encoder):
    """No slope anywhere: a count of samples above 1."""

    width = 2

    def forward(self, values, mask):
        above = (values > 1).float().mean(-1)
        tokens = torch.cat([above, 1 - above], 1).unsqueeze(1)
        return EncoderOutput(tokens, mask[:, :1], tokens[:, 0])

    def options(self):
        return {}


def by_hand(encoder):
    tower = Tower("tone", TowerConfig(modality="tone", projection={"kind": "identity"}), 12)
    tower.encoder, tower.projection.layers = encoder, nn.Identity()
    tower.projection.mean = torch.zeros(2)
    return tower.eval()


def test_weights_by_hand_give_relevance_by_hand():
    signal = Signal(torch.ones(1, 40), 100.0, ("tone",))
    found = explain(by_hand(OneToken()), signal, Target("first", lambda z: z[:, 0]))
    assert found.method == "attention"
    assert found.relevance[0].nonzero().flatten().tolist() == [15, 16, 17, 18, 19]
    even = explain(by_hand(OneToken()), signal, Target("first", lambda z: z[:, 0]), "rollout")
    torch.testing.assert_close(even.relevance, torch.full((1, 40), 1 / 40))


def test_an_encoder_without_gradient_is_occluded():
    data = torch.zeros(1, 96)
    data[0, 30:36] = 2.0
    found = explain(by_hand(Steps()), Signal(data, 100.0, ("tone",)), Target("first", lambda z: z[:, 0]))
    assert found.method == "occlusion"
    assert 30 <= int(found.relevance.argmax()) < 36
    assert not found.relevance[0, 60:].any()


def checkpoint(folder, kind):
    """A tiny random checkpoint of a family in the real format."""
    import transformers

    torch.manual_seed(0)
    image = {"image_size": 32, "patch_size": 8, "num_channels": 3}
    wave = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    made = {
        "ViT": ({**TINY, **image}, "ViTModel"),
        "Dinov2WithRegisters": ({**TINY, **image, "num_register_tokens": 3}, "Dinov2WithRegistersModel"),
        "SiglipVision": ({**TINY, **image}, "SiglipVisionModel"),
        "AST": ({**TINY, "max_length": 64, "num_mel_bins": 32}, "ASTModel"),
        "Whisper": (
            {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16,
             "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "vocab_size": 20,
             "max_source_positions": 50, "num_mel_bins": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
             "decoder_start_token_id": 1},
            "WhisperModel",
        ),
        "Wav2Vec2": ({**TINY, **wave, "vocab_size": 10}, "Wav2Vec2Model"),
        "Hubert": ({**TINY, **wave, "vocab_size": 10, "feat_extract_norm": "layer"}, "HubertModel"),
        "WavLM": ({**TINY, **wave, "vocab_size": 10}, "WavLMModel"),
        "ClapAudio": (
            {"patch_embeds_hidden_size": 16, "depths": (1, 1, 1, 1), "num_attention_heads": (1, 2, 2, 2),
             "hidden_size": 128, "window_size": 4, "spec_size": 128, "num_mel_bins": 32},
            "ClapAudioModel",
        ),
    }  # fmt: skip
    options, model = made[kind]
    config = getattr(transformers, f"{kind}Config")(**options)
    getattr(transformers, model)(config).save_pretrained(folder)
    return str(folder)


ECG = Signal(draw(12, 1200), 100.0, STANDARD)
MOTION = Signal(
    draw(6, 250), 50.0, ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"), {"location": "left wrist"}
)
AUDIO = Signal(draw(1, 20_000) * 0.1, 16_000.0, ("mono",))
XRAY = Signal(draw(1, 50, 40).abs().clamp(0, 1), None, ("grey",))
CT = Signal(draw(1, 40, 36, 20) * 300, None, ("HU",), {"unit": "HU", "spacing": (1.0, 1.0, 2.0)})
SIGNALS = {
    "audio": AUDIO, "ct": CT, "ecg": ECG, "motion": MOTION, "xray": XRAY,
    "text": Signal(torch.zeros(0), meta={"text": "a low tone is heard"}),
}  # fmt: skip
HF = {
    "ViT": "xray", "Dinov2WithRegisters": "xray", "SiglipVision": "xray", "AST": "audio", "Whisper": "audio",
    "Wav2Vec2": "audio", "Hubert": "audio", "WavLM": "audio", "ClapAudio": "audio",
}  # fmt: skip
CASES = {
    **{name: (name, {}) for name in BUILT_IN},
    **{kind: (modality, {}) for kind, modality in HF.items()},
    "vit1d-tiny": ("ecg", {"width": 16, "depth": 2, "heads": 2}),
    "more_vit": ("ecg", {"width": 16, "depth": 2, "heads": 2, "stem": 8}),
    "vit3d": ("ct", {"shape": [16, 16, 16], "patch": 8, "width": 16, "depth": 2, "heads": 2}),
    "slices": ("ct", {"encoder": "vit", "options_2d": {"hf_config": {"model_type": "vit", "num_channels": 1,
               "image_size": 16, "patch_size": 8, **TINY}}}),
    "patchtst": ("motion", {"d_model": 16, "heads": 2, "d_ff": 16}),
    "stgcn": ("motion", {"widths": [4], "strides": [4]}),
}  # fmt: skip
PROCESSING = {
    "ct": {"shape": (32, 32, 32)}, "slices": {"slices": 4},
    "ecg": {"seconds": 10}, "motion": {"window": 2.0, "hop": 2.0}, "patchtst": {"window": 2.0},
    "vit3d": {"larger": "random"}, "ClapAudio": {"seconds": 1.0},
}  # fmt: skip
ATTENDING = {
    "ViT", "Dinov2WithRegisters", "SiglipVision", "AST", "Whisper", "Wav2Vec2", "Hubert", "vit1d-tiny", "more_vit",
    "vit3d", "slices", "patchtst", "text",
}  # fmt: skip


@pytest.fixture(scope="module")
def towers(tmp_path_factory, text_checkpoint):
    """Case -> tower, made when first asked for."""
    made = {}

    def get(case, tune="full"):
        if (case, tune) not in made:
            modality, options = CASES[case]
            encoder = case if case in get_modality(modality).encoders else ""
            if case in HF:
                encoder = {"xray": "vit", "AST": "ast", "Whisper": "whisper", "ClapAudio": "clap"}.get(
                    case if modality == "audio" else modality, "wav2vec2"
                )
                options = {"checkpoint": checkpoint(tmp_path_factory.mktemp(case), case)}
            if case == "text":
                options = {"checkpoint": str(text_checkpoint)}
            torch.manual_seed(0)
            config = TowerConfig(
                modality=modality, encoder=encoder, options=options, processing=PROCESSING.get(case, {}), tune=tune
            )
            made[case, tune] = Tower(modality, config, 8).eval()
        return made[case, tune]

    return get


TARGET = Target("a direction", lambda z: z @ F.normalize(torch.arange(8.0) - 2, dim=0).to(z))


@pytest.mark.parametrize("case", list(CASES))
def test_every_encoder_is_explained_in_the_units_of_its_signal(towers, case):
    tower, signal = towers(case), SIGNALS[CASES[case][0]]
    found = explain(tower, signal, TARGET, "attention" if case in ATTENDING else "auto")
    if case in ATTENDING:
        assert (found.relevance >= 0).all()
        chosen = explain(tower, signal, TARGET).method
        assert chosen == "attention" if len(found.parts) == 1 else chosen in ("gradients", "occlusion")
    else:
        assert found.method == ("occlusion" if case == "WavLM" else "gradients")
    assert torch.isfinite(found.relevance).all()
    assert bool(found.relevance.any())
    assert found.value == pytest.approx(TARGET.score(tower({"pooled": tower.encode_whole([signal])})).item(), abs=1e-5)
    shape = (len(signal.meta["text"]),) if case == "text" else tuple(signal.data.shape)
    if CASES[case][0] == "audio":
        assert found.relevance.shape[0] in (1, 64)  # samples, or mel bands by frames
    else:
        assert tuple(found.relevance.shape) == shape
    for part in found.parts:
        assert part.relevance.shape == part.main.shape


@pytest.mark.parametrize("tune", ["lora", "frozen"])
@pytest.mark.parametrize("case", ["ViT", "text", "vit1d-tiny", "ecg"])
def test_lora_and_frozen_towers_are_explained_too(towers, case, tune):
    for method in METHODS if case in ATTENDING else ("gradients", "occlusion"):
        found = explain(towers(case, tune), SIGNALS[CASES[case][0]], TARGET, method)
        assert bool(found.relevance.any()), method


@pytest.mark.parametrize("case", sorted(ATTENDING))
def test_rollout_takes_up_all_of_each_row_but_what_special_tokens_keep(towers, case):
    found = explain(towers(case), SIGNALS[CASES[case][0]], TARGET, "rollout")
    spans = towers(case).encoder.token_spans(
        towers(case).processing.collate(
            [towers(case).processing(towers(case).processing.segments(SIGNALS[CASES[case][0]])[0])]
        )
    )
    groups = round(float(spans.read.sum()))
    each = [float(part.relevance.sum()) / groups for part in found.parts]
    special = bool(spans.spans.isnan().any())
    assert all(0.2 < total < 1 for total in each) if special else each == pytest.approx([1.0] * len(each), abs=1e-4)


@pytest.mark.parametrize("case", ["audio", "ecg", "xray", "motion", "text", "slices"])
def test_occlusion_of_every_modality(towers, case):
    found = explain(towers(case), SIGNALS[CASES[case][0]], TARGET, "occlusion")
    assert bool(found.relevance.any())


def test_spans_count_the_tokens_that_attend(towers):
    """A wrong number of special tokens would leave nothing caught."""
    for case in sorted(ATTENDING):
        tower = towers(case)
        window = tower.processing.segments(SIGNALS[CASES[case][0]])[0]
        inputs = tower.processing.collate([tower.processing(window)])
        with captured(len(tower.encoder.token_spans(inputs).spans)) as layers, torch.no_grad():
            tower.encoder(**inputs)
        assert len(layers) == 3 if case == "patchtst" else len(layers) == 2, case


class FirstKeys(TorchFunctionMode):
    """The keys of the first layer of attention: each hangs on its own token alone."""

    found = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention and self.found is None:
            self.found = args[1]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", ["AST", "ViT", "Dinov2WithRegisters", "SiglipVision", "vit1d-tiny", "more_vit"])
def test_a_span_is_what_its_token_hangs_on(towers, case):
    tower = towers(case)
    inputs = tower.processing.collate([tower.processing(tower.processing.segments(SIGNALS[CASES[case][0]])[0])])
    inputs["values"] = draw(*inputs["values"].shape).requires_grad_()
    with FirstKeys() as mode:
        tower.encoder(**inputs)
    spans = tower.encoder.token_spans(inputs).spans
    for place in (0, len(spans) // 3, len(spans) - 2):
        seen = torch.autograd.grad(
            mode.found[0, :, place].sum(), inputs["values"], retain_graph=True, allow_unused=True
        )[0]
        if spans[place].isnan().any():
            assert seen is None or not seen.any()
            continue
        where = seen[0].nonzero()
        box = torch.stack([where.amin(0), where.amax(0) + 1], 1)
        assert torch.equal(box, spans[place].long()), f"{case}, token {place}"


def test_a_method_is_one_file_and_one_decorator():
    @register_method("inputs", "the input itself", "nothing", lambda window: True)
    def inputs(window: Window):
        return window.main[0].float()

    try:
        signal = Signal(torch.arange(40.0)[None], 100.0, ("tone",))
        found = explain(by_hand(OneToken()), signal, Target("first", lambda z: z[:, 0]), "inputs")
        assert torch.equal(found.relevance, signal.data)
        assert found.title == "the input itself"
        with pytest.raises(ValueError, match="already registered"):
            register_method("inputs", "", "", lambda window: True)(inputs)
    finally:
        del METHODS["inputs"]


def test_masked_tokens_have_no_relevance():
    """Padding that an exact encoder masks is not looked at."""
    tower = Tower("ecg", TowerConfig(encoder="vit1d-tiny", options=CASES["vit1d-tiny"][1], processing={}), 8).eval()
    short = Signal(draw(12, 30), 100.0, STANDARD)  # 0.3 s at 500 Hz: three tokens of the window's hundred
    found = explain(tower, short, TARGET)
    assert found.relevance.shape == (12, 30)
    tokens, real = draw(1, 6, 4), torch.tensor([[True] * 4 + [False] * 2])
    assert mean_rows(real[0]).tolist() == [0.25] * 4 + [0.0] * 2
    torch.testing.assert_close(masked_mean(tokens, real)[0], mean_rows(real[0]) @ tokens[0])
