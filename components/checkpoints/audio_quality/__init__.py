"""A classifier of audio quality as its file describes it: the router of Mega-ASR."""
