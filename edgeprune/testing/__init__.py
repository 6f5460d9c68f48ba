"""For tests, ours and those of plug-in authors: fakes that behave, and what every plug-in must satisfy."""

from edgeprune.testing.cables import AWKWARD as AWKWARD
from edgeprune.testing.cables import FakeShell as FakeShell
from edgeprune.testing.cables import check_transport as check_transport
from edgeprune.testing.evidence import NEEDS as NEEDS
from edgeprune.testing.evidence import FakeConnectionEvidence as FakeConnectionEvidence
from edgeprune.testing.evidence import FakeEvidence as FakeEvidence
from edgeprune.testing.evidence import Floats as Floats
from edgeprune.testing.evidence import a_group as a_group
from edgeprune.testing.evidence import check_connection_criterion as check_connection_criterion
from edgeprune.testing.evidence import check_criterion as check_criterion
from edgeprune.testing.files import FakeRuntime as FakeRuntime
from edgeprune.testing.files import FakeSession as FakeSession
from edgeprune.testing.files import check_calibrated_quantizer as check_calibrated_quantizer
from edgeprune.testing.plugin import check_dataset as check_dataset
from edgeprune.testing.plugin import check_plugin as check_plugin
