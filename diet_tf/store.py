"""placeholder while store is being written"""
def memory_folder(uri: str) -> str:
  return uri
