"""From a trained network and photographs to probability maps and lesion lists."""
