"""The panel: click models over one weighted-bag embedding layer, by name, and a user's own Keras models."""

from diet_tf.models.bag_embedding import BagEmbedding
from diet_tf.models.parameter_groups import PARAMETER_GROUPS, parameter_group
from diet_tf.models.ranking_model import ModelSettings, RankingModel
from diet_tf.models.registry import PANEL, Member, build_model, parse_member
from diet_tf.models.tfrs_ranking import TfrsRanking

__all__ = ["PANEL", "PARAMETER_GROUPS", "BagEmbedding", "Member", "ModelSettings", "RankingModel", "TfrsRanking",
           "build_model", "parameter_group", "parse_member"]
