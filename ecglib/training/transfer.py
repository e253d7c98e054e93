"""Put what a network learnt on arrhythmia beats to work on another task.

The head, two fully connected layers, is made anew. All below it is loaded and must fit exactly. How the loaded layers
learn on is the *way*:

- `scratch`: nothing is loaded, everything learns;
- `frozen`: only the head's two fully connected layers learn (after Kachuee et al. 2018, section III-C);
- `finetune`: everything learns, a layer the slower the farther it is from the head (Howard & Ruder 2018, section 3.2);
- `gradual`: as `finetune`, and a layer's rate is zero until the ones above it have learnt for a while (section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ecglib import aami
from ecglib.errors import UserError, some
from ecglib.models import registry
from ecglib.training import loop

RECIPE = 1
"""1: as published."""
Way = Literal["scratch", "frozen", "finetune", "gradual"]
State = dict[str, Tensor]

UNFROZEN_BY: Final = 0.5
"""Share of the training after which, in `gradual`, every layer learns."""
PREFIX: Final = "module."
"""`nn.DataParallel` puts it before all names of a state dict. The public PyTorch code of CNet names its layers as ours
does (`c1`, `cresids.N.c1`, `cresids.N.c2`, `fc1`, `fc2`)."""
STAGES: Final = {"cnet": "cresids"}
"""Networks whose stages are read, and where they lie; each stage puts out `(batch, channels, samples)`."""
LAST_STAGES: Final = 3
"""How many of them, from the last one back."""


def read_weights(path: Path) -> State:
    """Tensors of a weights file by name: `.safetensors`, or a plain state dict as `torch.save` writes it.

    Raises UserError when the file is missing, damaged, holds code or other objects than tensors, or no tensor at all.
    """
    if not path.is_file():
        raise UserError(path, "no such file", "a weights file")
    try:
        safe = path.suffix == ".safetensors"
        state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(path, f"damaged ({error})", "a safetensors file") from None
    except Exception as error:  # unpickling raises what it likes
        kind = "code or objects that are no tensors" if "weights_only" in str(error).lower() else type(error).__name__
        raise UserError(path, f"can't be loaded safely ({kind})", "a plain state dict of tensors") from None
    if not isinstance(state, dict) or not state or not all(isinstance(t, Tensor) for t in state.values()):
        inner = [name for name, value in state.items() if isinstance(value, dict)] if isinstance(state, dict) else []
        hint = f" (one may be in it, under {inner[0]!r})" if inner else ""
        raise UserError(path, f"no plain state dict{hint}", "names and tensors, such as model.state_dict()")
    renamed: State = {str(name).removeprefix(PREFIX): tensor for name, tensor in state.items()}
    if len(renamed) < len(state):
        raise UserError(path, f"two tensors of one name (with and without {PREFIX})", "one of each name")
    for name, tensor in renamed.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise UserError(path, f"{name} is no dense tensor", "plain numbers")
        if tensor.is_complex() or (tensor.is_floating_point() and not tensor.isfinite().all()):
            raise UserError(path, f"{name} has values that are not finite real numbers", "trained weights")
    return renamed


def fill(network: nn.Module, path: Path) -> None:
    """Load the weights of a file into a network in place of its own. A `UserError` as of `read_weights`, or where they
    are another network's."""
    state, free = read_weights(path), getattr(network, "FITTED", ())
    ours, theirs = ({name: t.shape for name, t in one.items()} for one in (network.state_dict(), state))
    wrong = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name) and name not in free]
    if wrong:
        raise UserError(path, f"weights that are not this network's: {some(wrong, 5)}")
    network.load_state_dict(state)


class Transferred(nn.Module):
    """A network of one lead, pretrained or not, with a head for another task, for one lead or for many.

    What the network gives for a beat is the maximum over time of what its last stages put out, where `STAGES` names
    them, so that shapes of several sizes are read and where they stand matters little; of another network it is what
    its output layer reads. With several leads the network is shared by all of them, and what it
    gives for each is joined (weights are shared over leads, as in a Siamese network: Bromley et al. 1993).

    The head is two fully connected layers. It brings every feature to the same mean and scale first (Ioffe & Szegedy
    2015, without the learnt ones): features of a frozen network differ in scale, and weight decay would favour the
    large ones. Its first layer has `hidden` units, and `dropout` stands before each.

    The network `name` of the registry must take single beats; `options` are its own. In training, `noise` of that
    standard deviation is added to its input.
    """

    def __init__(
        self,
        name: str,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        hidden: int = 64,
        dropout: float = 0.0,
        noise: float = 0.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.n_leads, self.noise, self._name, self._frozen = n_leads, noise, name, False
        self.trunk = registry.build(name, 1, n_samples, len(aami.CLASSES), **(options or {}))
        self._all_names = list(self.trunk.state_dict())
        linear = [each for each, layer in self.trunk.named_modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise UserError(f"model {name}", "no fully connected layer", "one that gives the logits")
        # with stages all fully connected layers are behind them; else the one that comes last in the order of
        # definition gives the logits
        for each in linear if name in STAGES else linear[-1:]:
            self.trunk.set_submodule(each, nn.Identity())
        self.trunk.eval()  # or statistics of batch normalisation would take the zeros in
        with torch.no_grad():
            n = n_leads * self.read(torch.zeros(2, 1, n_samples)).shape[1]
        self.trunk.train()
        first = nn.BatchNorm1d(n, affine=False), nn.Dropout(dropout), nn.Linear(n, hidden), nn.ReLU()
        self.head = nn.Sequential(*first, nn.Dropout(dropout), nn.Linear(hidden, n_classes))

    def read(self, x: Tensor) -> Tensor:
        """Features `(batch, n)` of single leads `(batch, 1, samples)`."""
        if self._name not in STAGES:
            features: Tensor = self.trunk(x)
            return features
        given: list[Tensor] = []
        stages = list(self.trunk.get_submodule(STAGES[self._name]).children())[-LAST_STAGES:]
        hooks = [stage.register_forward_hook(lambda _stage, _x, y: given.append(y)) for stage in stages]
        try:
            self.trunk(x)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([y.amax(2) for y in given], 1)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits `(batch, classes)` of beats `(batch, leads, samples)`, float32."""
        if self.training and self.noise:
            x = x + self.noise * torch.randn_like(x)
        shared = self.read(x.flatten(0, 1).unsqueeze(1)).unflatten(0, (x.shape[0], self.n_leads)).flatten(1)
        logits: Tensor = self.head(shared)
        return logits

    def train(self, mode: bool = True) -> Self:
        """A frozen network keeps its statistics too."""
        super().train(mode)
        if self._frozen:
            self.trunk.eval()
        return self

    def take(self, pretrained: State, where: str | Path) -> tuple[list[str], list[str]]:
        """Load all but the head from a network that was trained on the five classes of beats; returns the names of the
        tensors loaded and of those left behind.

        Raises UserError, naming the layers, when the pretrained network is another one.
        """
        ours = self.trunk.state_dict()
        skipped = [name for name in self._all_names if name not in ours and name in pretrained]
        missing = [name for name in ours if name not in pretrained]
        unknown = [name for name in pretrained if name not in self._all_names]
        other = [name for name, t in pretrained.items() if name in ours and t.shape != ours[name].shape]
        said = {"missing": missing, "unknown": unknown, "of another shape": other}
        if found := "; ".join(f"{what}: {some(names, 5)}" for what, names in said.items() if names):
            expected = f"{len(self._all_names)} tensors"
            raise UserError(where, f"no weights of {self._name} with these options ({found})", expected)
        self.trunk.load_state_dict({name: pretrained[name] for name in ours})
        return list(ours), skipped

    def layers(self) -> list[list[nn.Module]]:
        """Modules with parameters of their own, from the top down: both of the head first, then each of the network."""

        def learning(part: nn.Module) -> list[nn.Module]:
            return [layer for layer in part.modules() if next(layer.parameters(recurse=False), None) is not None]

        return [learning(self.head), *([layer] for layer in reversed(learning(self.trunk)))]

    def freeze(self) -> list[str]:
        """Let only the head's two fully connected layers learn; returns the names of the tensors that don't."""
        self._frozen = True
        self.trunk.requires_grad_(False)
        self.train(self.training)
        return [name for name, _ in self.trunk.named_parameters()]


def share_of_rate(way: Way, depth: int, n_layers: int, done: float, decay: float) -> float:
    """Learning rate, as a share of the head's, of a layer below `depth` of all others (0 for those of the head), when
    `done`, a share from 0 to 1, of the training is over; `decay` (above 0 to 1) is from a layer to the one below it."""
    if way in ("scratch", "frozen"):
        return 1.0
    if way == "gradual" and depth > done / UNFROZEN_BY * n_layers:
        return 0.0
    return float(decay**depth)


def groups(way: Way, decay: float, head_decay: float, weight_decay: float) -> Callable[[nn.Module], list[loop.Group]]:
    """The parameters of a `Transferred` as `loop.Recipe.groups` wants them: a learning rate of its own for every layer,
    falling from one to the next by `decay`, and a weight decay of their own for the head's."""

    def divided(model: nn.Module) -> list[loop.Group]:
        assert isinstance(model, Transferred)
        layers = model.layers()
        found = []
        for depth, modules in enumerate(layers):
            own = [(name, p) for layer in modules for name, p in layer.named_parameters(recurse=False)]
            learning = [(name, p) for name, p in own if p.requires_grad]
            share = partial(share_of_rate, way, depth, len(layers), decay=decay)
            if depth == 0:
                # many features of few patients ask for a strong decay; a bias sets a level, which is not to shrink
                for kind, decayed in (("weight", head_decay), ("bias", 0.0)):
                    found.append(loop.Group([p for name, p in learning if name == kind], decayed, share))
            elif learning:
                found.append(loop.Group([p for _, p in learning], weight_decay, share))
        return found

    return divided
