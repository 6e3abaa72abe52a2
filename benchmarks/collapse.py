"""What collapse gives back: a transformer plain, with an auxiliary's weights attached, and collapsed, in one run."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from onepath.export.collapse import collapse
from onepath.merging.reparameterization import reparameterize
from paired import median_ratio, save, thread_seconds

WIDTH, DEPTH, TOKENS = 256, 6, 65


def encoder(seed: int) -> nn.TransformerEncoder:
    """Return a seeded transformer encoder in eval mode."""
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False).eval()


def main() -> None:
    """Measure the three forms at batch 1 and 8."""
    torch.set_num_threads(1)
    plain, attached = encoder(0), encoder(0)
    reparameterize(attached, encoder(1))
    with torch.no_grad():
        for name, parameter in attached.named_parameters():
            if name.endswith("scales") or "scale" in name:
                parameter.fill_(0.1)
    collapsed, _ = collapse(attached)
    fresh = encoder(2)
    fresh.load_state_dict(collapsed.state_dict(), strict=True)
    ratios = {}
    for batch in (1, 8):
        x = torch.randn(batch, TOKENS, WIDTH)
        forms = {"plain": plain, "attached": attached, "collapsed": collapsed}
        with torch.inference_mode():
            seconds = thread_seconds({name: partial(form, x) for name, form in forms.items()}, rounds=40)
        ratios[f"batch {batch}"] = {name: median_ratio(seconds, name, "plain") for name in ("attached", "collapsed")}
    save("collapse", {"width": WIDTH, "depth": DEPTH, "tokens": TOKENS, "time_relative_to_plain": ratios})


if __name__ == "__main__":
    main()
