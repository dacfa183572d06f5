"""A dual encoder with a linear map of its frame vectors, fitted to captions in closed form."""
