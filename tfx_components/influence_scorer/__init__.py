"""InfluenceScorer, a TFX component: import it from `tfx_components`."""
