"""What models take: files, frames, arrays, tensors, pictures, open files, and texts."""
