"""What goes: retention, deletion and its tombstones, compaction, the audit."""
