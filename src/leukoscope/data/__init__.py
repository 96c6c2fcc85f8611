"""From images on disk to batches: catalog, sources, splits, preprocessing, pack, augmentation."""
