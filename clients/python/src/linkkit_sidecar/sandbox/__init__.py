"""The sandbox: the platform on your desk."""
