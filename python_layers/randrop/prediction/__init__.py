"""From a trained network and photographs to probability maps and lists of lesions."""
