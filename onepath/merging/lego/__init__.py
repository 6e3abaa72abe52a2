"""MM-Lego: blocks around any encoders, merged without training (`LegoMerge`) or fused into one chain (`LegoFuse`)."""

from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.fuse import LegoFuse
from onepath.merging.lego.live import live_parameters
from onepath.merging.lego.merge import LegoMerge
from onepath.merging.lego.settings import LegoSettings

__all__ = ["LegoBlock", "LegoFuse", "LegoMerge", "LegoSettings", "live_parameters"]
