"""Convert public data sets' own annotation files to manifests."""
