//! Encodings of rows: JSON, CSV and Parquet, and the compressions of files.
