"""Import of transcripts: JSON lines of OpenAI-style messages become trajectories with steps and evidence.

`read` gives what stands in a file, `import_file` puts it into the replay buffer. Which text formats are read, what is
dropped and why: docs/import.md.
"""

from agenther_live.integrations.transcripts.importing import ImportReport, Sink, import_file
from agenther_live.integrations.transcripts.reading import MAX_LINE_BYTES, Imported, Redacts, Refused, read

__all__ = ["MAX_LINE_BYTES", "ImportReport", "Imported", "Redacts", "Refused", "Sink", "import_file", "read"]
