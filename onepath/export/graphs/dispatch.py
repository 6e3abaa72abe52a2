"""Row dispatch inside the graph: an encoder sees only the rows that have its modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from onepath.contract.presence import FAILED, PRESENT, ROW_EMPTY, ROW_FAILED, ROW_OK
from onepath.merging.multimodal import MultimodalModel


class RowDispatch(nn.Module):
    """Runs an encoder on the rows that are present and puts the absent value in the place of the others.

    The rows are gathered, encoded together, and scattered back, so that the cost is in proportion to how many are
    present and a present row's features are those that the encoder gives for it in any company. In torch no encoder
    is run on no rows, which not every one can be; a graph does run it, and is proved to.

    Args:
        encoder: `values (rows, …) -> features (rows, …)`.
        absent: the features of an absent row, without the row axis.
    """

    absent: Tensor

    def __init__(self, encoder: nn.Module, absent: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("absent", absent.detach().clone(), persistent=False)

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """Return the features of every row.

        Args:
            values: `(rows, …)`, anything where a row is absent.
            present: bool `(rows,)`.
        """
        index = torch.nonzero(present).squeeze(1)
        if torch.compiler.is_exporting():
            # Layers such as BatchNorm ask whether there are rows, which torch cannot tell. It may take it that there
            # are several: that the graph is right for one row and for none is proved afterwards.
            torch._check(index.shape[0] > 1)  # type: ignore[no-untyped-call]
        elif index.shape[0] == 0:
            return self._all_absent(present.shape[0])
        encoded = self.encoder(values.index_select(0, index))
        table = self.absent.to(encoded.dtype).expand(present.shape[0], *self.absent.shape)
        return table.index_copy(0, index, encoded)

    def _all_absent(self, rows: int) -> Tensor:
        dtype = next((weight.dtype for weight in self.encoder.parameters()), self.absent.dtype)
        return self.absent.to(dtype).expand(rows, *self.absent.shape)


class PresenceGraph(nn.Module):
    """A merged model as it is served: values and states in, the task's outputs, presence and row status out.

    Rows that are empty or failed get zeros, never NaN. Classification scores are softmax probabilities.

    Args:
        model: the merged model.
        task: `classification` turns the first output into probabilities; `embedding` leaves it.
    """

    def __init__(self, model: MultimodalModel, task: str) -> None:
        super().__init__()
        self.model = cast(nn.Module, model)
        self.modalities: Sequence[str] = model.modalities
        self.task = task
        self.dispatch = nn.ModuleDict(
            {name: RowDispatch(model.encoders[name], model.absent(name)) for name in model.modalities}
        )

    def forward(self, values: Mapping[str, Tensor], states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name, each `(rows, width)`; `presence` uint8 and `row_status` uint8 come last.

        Args:
            values: modality to `(rows, …)`, as the processor makes them.
            states: modality to uint8 `(rows, 1)`, see `onepath.contract.presence`.
        """
        state = torch.cat([states[name] for name in self.modalities], dim=1)
        failed = (state == FAILED).any(dim=1, keepdim=True)
        present = (state == PRESENT) & ~failed
        features = {
            name: self.dispatch[name](values[name], present[:, column]) for column, name in enumerate(self.modalities)
        }
        usable = present.any(dim=1, keepdim=True)
        outputs = self._task_outputs(cast(MultimodalModel, self.model).fuse(features, present))
        masked = {name: torch.where(usable, value, torch.zeros_like(value)) for name, value in outputs.items()}
        return masked | {"presence": present.to(torch.uint8), "row_status": _row_status(usable, failed)}

    def _task_outputs(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        first = next(iter(outputs))
        if self.task != "classification":
            return outputs
        return outputs | {first: torch.softmax(outputs[first], dim=-1)}


def _row_status(usable: Tensor, failed: Tensor) -> Tensor:
    ok_or_empty = torch.where(usable, ROW_OK, ROW_EMPTY)
    return torch.where(failed, ROW_FAILED, ok_or_empty).to(torch.uint8)
