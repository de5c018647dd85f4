"""An exported file was run and gave the module's answers; else there is none, and one line says why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.exported import export as exporting
from sweepstake.tickets.exported import formats
from sweepstake.tickets.exported.example import Inputs, tensors_in
from sweepstake.tickets.exported.export import export
from sweepstake.tickets.exported.formats import Written
from sweepstake.tickets.names import tensors_by_name
from sweepstake.tickets.ticket import Ticket


def convolutions() -> nn.Sequential:
    """In training, with statistics that are not those of a new norm."""
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10))
    module(torch.randn(16, 1, 8, 8) * 3 + 1)
    return module


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Eigenvalues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x)


class OfThree(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(3, -1)


class Rows(nn.Module):
    """A sparse layer: its alive weights in CSR."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.rows, self.bias = linear.weight.detach().to_sparse_csr(), linear.bias

    def to_dense(self) -> nn.Linear:
        out, into = self.rows.shape
        linear = nn.Linear(into, out)
        with torch.no_grad():
            linear.weight.copy_(self.rows.to_dense())
            linear.bias.copy_(self.bias)
        return linear

    def forward(self, x: Tensor) -> Tensor:
        return (self.rows @ x.T).T + self.bias


def refused(module: nn.Module, path: Path, example: Any, **options: Any) -> str:
    """The one line, once nothing is left."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(UserError) as refusal:
        export(module, path, example, **options)
    assert len(refusal.value.problems) == 1
    assert "\n" not in str(refusal.value)
    assert sorted(path.parent.iterdir()) == before
    return str(refusal.value)


def answers_of(path: Path, to: str, module: nn.Module) -> Callable[..., Tensor]:
    """The file, read as a stranger reads it."""
    if to == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda x: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
    if to == "torch":
        return torch.export.load(path).module()
    module.load_state_dict(load_file(path))
    return module.eval()


@pytest.mark.parametrize(("to", "name"), [("onnx", "net.onnx"), ("torch", "net.pt2"), ("safetensors", "net.safetensors")])
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")
def test_a_file_gives_the_modules_answers_in_evaluation_at_any_batch(to: Any, name: str, tmp_path: Path):
    module = convolutions()
    done = export(module, tmp_path / name, images(1), to=to)
    assert module.training
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (done.bytes, done.path) == ((tmp_path / name).stat().st_size, tmp_path / name)
    assert done.largest_difference < 1e-5
    assert done.seconds > 0
    run = answers_of(tmp_path / name, to, convolutions())
    for batch in (1, 2, 5):
        torch.testing.assert_close(run(images(batch)), module.eval()(images(batch)), rtol=1e-4, atol=1e-5)
    assert done.said == (("weights alone: whoever reads them needs the module's code.",) if to == "safetensors" else ())


def test_the_onnx_batch_is_an_axis_of_that_name(tmp_path: Path):
    import onnx

    export(nn.Linear(4, 2), tmp_path / "net.onnx", torch.randn(3, 4))
    inputs = onnx.load(tmp_path / "net.onnx").graph.input
    assert [each.dim_param or each.dim_value for each in inputs[0].type.tensor_type.shape.dim] == ["batch", 4]


def test_a_module_that_fixes_its_batch_is_exported_for_that_one_and_it_is_said(tmp_path: Path):
    done = export(OfThree(), tmp_path / "net.pt2", torch.randn(3, 4), to="torch")
    assert done.said == ("of batch 3 alone: the module's own code fixes the batch.",)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
def test_sparse_layers_go_dense_and_it_is_said(tmp_path: Path):
    linear = nn.Linear(6, 4)
    with torch.no_grad():
        linear.weight[torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) > 0.3] = 0
    module = nn.Sequential(nn.Linear(6, 6), nn.Sequential(Rows(linear)))
    for to, name in (("torch", "net.pt2"), ("safetensors", "net.safetensors")):
        done = export(module, tmp_path / name, torch.randn(3, 6), to=to)
        assert done.said[0] == "sparse layers are dense in the file, their dead weights 0: 1.0."
    assert torch.equal(load_file(tmp_path / "net.safetensors")["1.0.weight"], linear.weight)
    assert isinstance(module[1], nn.Sequential) and isinstance(module[1][0], Rows)
    done = export(Rows(linear), tmp_path / "alone.pt2", torch.randn(3, 6), to="torch")
    assert done.said[0].endswith(": the module.")


def test_a_transformer_goes_by_the_names_of_its_inputs_and_answers_in_plain_dicts(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    module = transformers.BertModel(transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=16))
    example = {"input_ids": torch.arange(14).reshape(2, 7), "attention_mask": torch.ones(2, 7).long(), "return_dict": True}
    onnx = export(module, tmp_path / "net.onnx", example)
    assert (onnx.largest_difference < 1e-5, onnx.said) == (True, ("with return_dict = True fixed.",))
    export(module, tmp_path / "net.pt2", example, to="torch")
    example.pop("return_dict")
    answer = torch.export.load(tmp_path / "net.pt2").module()(**example)
    assert type(answer) is dict
    torch.testing.assert_close(answer["pooler_output"], module.eval()(**example).pooler_output)


def test_what_cannot_travel_is_named_and_nothing_is_left(tmp_path: Path):
    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Branching()))
    (tmp_path / "old.pt2").write_text("old")
    assert "torch.export does not take its 1.0 (Branching) (" in refused(module, tmp_path / "old.pt2", torch.randn(3, 4), to="torch")
    assert (tmp_path / "old.pt2").read_text() == "old"
    said = refused(Eigenvalues(), tmp_path / "net.onnx", torch.randn(3, 4, 4))
    assert "aten._linalg_eigh" in said
    assert said.endswith('Change the module there, or keep its weights alone with to = "safetensors".')
    assert "the module itself fails on the example (RuntimeError: " in refused(module, tmp_path / "net.pt2", torch.randn(3, 5), to="torch")
    assert "no bfloat16" in refused(nn.Linear(4, 4).bfloat16(), tmp_path / "net.onnx", torch.randn(3, 4).bfloat16())


@pytest.mark.parametrize("wrong", [1e-2, float("nan")])
def test_a_file_that_answers_otherwise_is_not_kept(wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def off(module: nn.Module, inputs: Inputs, file: Path) -> Written:
        file.write_text("a file")
        return Written(lambda given: [each + wrong for each in tensors_in(given.into(module))], any_batch=True)

    monkeypatch.setitem(exporting.WRITERS, "torch", off)
    assert "answer 1 of the file is off by" in refused(nn.Linear(4, 2), tmp_path / "net.pt2", torch.randn(3, 4), to="torch")


def test_a_safetensors_file_must_hold_every_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import safetensors.torch

    module = nn.Linear(4, 2)
    kept = module.bias.detach().clone()
    monkeypatch.setattr(safetensors.torch, "load_model", lambda copy, _: copy.weight.data.copy_(module.weight))
    assert "off by inf" in refused(module, tmp_path / "net.safetensors", torch.randn(3, 4), to="safetensors")
    assert torch.equal(module.bias, kept)


def test_tied_weights_are_kept_once(tmp_path: Path):
    module = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    module[2].weight = module[0].weight
    assert export(module, tmp_path / "net.safetensors", torch.randn(3, 64), to="safetensors").bytes < 64 * 64 * 4 + 2000


def test_a_mistake_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module, x = nn.Linear(4, 2), torch.randn(3, 4)
    assert 'Say "onnx", "torch" or "safetensors"' in refused(module, tmp_path / "n", x, to="tflite")
    assert "is a folder" in refused(module, tmp_path, x)
    assert "holds a ndarray" in refused(module, tmp_path / "n.onnx", (x.numpy(),))
    assert "no tensor in it has a batch" in refused(module, tmp_path / "n.onnx", torch.zeros(0, 4))
    with pytest.raises(UserError, match="there is no folder"):
        export(module, tmp_path / "no" / "n.onnx", x)
    monkeypatch.setattr(formats, "find_spec", lambda package: None if package == "onnxscript" else True)
    assert refused(module, tmp_path / "n.onnx", x) == 'export to ONNX needs onnxscript: pip install "sweepstake[export]".'


def test_a_ticket_exports_a_module_with_itself_in_it(tmp_path: Path):
    module = nn.Linear(4, 2)
    values = {name: value.detach().clone() for name, value in tensors_by_name(module).items()}
    mask = torch.tensor([[True, False, True, False]] * 2)
    values["weight"][~mask] = 0
    ticket = Ticket({"weight": mask}, values)
    with pytest.raises(UserError, match="Put the ticket into it first"):
        ticket.export(module, tmp_path / "t.safetensors", torch.randn(3, 4), to="safetensors")
    ticket.export(ticket.apply(module), tmp_path / "t.safetensors", torch.randn(3, 4), to="safetensors")
    assert torch.equal(load_file(tmp_path / "t.safetensors")["weight"], values["weight"])
