"""A small shop on Kubernetes: `app.py` takes orders, `orders.py` is what workers do with them."""
