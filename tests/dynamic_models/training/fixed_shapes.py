"""Train as ``dynamic_models.train`` does, with shapes as on a GPU and hardly any room for contacts at first."""

import sys

from dynamic_models.models.ngff import NGFF
from dynamic_models.train import parse_args
from dynamic_models.training import loop

if __name__ == "__main__":
    rooms: list[float] = []
    make_room, agree = NGFF.make_room, loop.agree

    def agree_and_tell(accelerator, model, *values):  # type: ignore[no-untyped-def]
        before = model.room
        agreed = agree(accelerator, model, *values)
        print(f"process {accelerator.process_index}: room {before:.4f}, then {model.room:.4f}", flush=True)
        return agreed

    NGFF.fixed_shapes = True
    loop.room_for = lambda *_: 1e-3  # type: ignore[assignment]
    loop.agree = agree_and_tell
    loop.train(parse_args(sys.argv[1:]))
