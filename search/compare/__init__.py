"""How do runs and experiments compare? `python -m search.compare RUN...`"""
