//! What is needed to run nodespan somewhere: units, manifests, images.
