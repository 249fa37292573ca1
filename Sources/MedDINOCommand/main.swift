print("meddino")
