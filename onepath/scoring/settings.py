"""What a person chooses when scoring offline."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from onepath.contract.tensors import Closed


class EngineSettings(Closed):
    """How the engine uses the machine.

    Attributes:
        graph_threads: threads of one graph run; ONNX Runtime's choice, one per core, unless given.
        decode_threads: how many payloads are read and decoded at the same time.
        providers: ONNX Runtime's execution providers, the preferred one first.
    """

    graph_threads: int | None = Field(default=None, ge=1)
    decode_threads: int = Field(default=4, ge=1)
    providers: tuple[str, ...] = Field(default=("CPUExecutionProvider",), min_length=1)


class ScoreSettings(Closed):
    """How files are read and written.

    Attributes:
        columns: modality to the column that holds it; a modality that is not here has the column of its own name.
        media_root: the folder that media paths are relative to and that nothing outside of is read from; without it
            they are relative to the Parquet file that names them, or absolute.
        keep_payloads: whether media bytes are copied to the output; other input columns always are.
        prefix: put before the name of every added column.
        overwrite: whether output files that exist are replaced.
        batch_rows: rows that are read and decoded at a time; the graph's largest batch unless given.
        engine: how the engine uses the machine.
    """

    columns: dict[str, str] = Field(default_factory=dict)
    media_root: Path | None = None
    keep_payloads: bool = False
    prefix: str = ""
    overwrite: bool = False
    batch_rows: int | None = Field(default=None, ge=1)
    engine: EngineSettings = EngineSettings()
