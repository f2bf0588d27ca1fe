"""Multi-task sparse parity: small networks on a task whose inputs offer few features to count. Two questions are asked of
them: does F of the hidden layer grow with the dictionary that counts it, and what does dropout do to it?
"""
