"""Visual Genome, GQA and COCO-Stuff: from raw files to the items that models read."""
