"""Daily ingestion of files that land in S3."""
