"""The only room that knows the order of the stages; each file is one way through them."""

from edgeprune.pipeline.carry_out import apply as apply
from edgeprune.pipeline.carry_out import give_back as give_back
from edgeprune.pipeline.compress import compress as compress
from edgeprune.pipeline.look import contents as contents
from edgeprune.pipeline.look import explain as explain
from edgeprune.pipeline.look import inspect as inspect
from edgeprune.pipeline.screen import screen as screen
