"""What every method, data set and network keeps, as tests that anybody can run on his own.

    pytest --pyargs bench.conformance --method my_method.py [--params '{"hidden": 64}'] [--crop 32,32,32]
    pytest --pyargs bench.conformance --dataset my_dataset.py
    pytest --pyargs bench.conformance --network my_network.py

A test file of one's own runs them beside its own tests:

    from bench.conformance.test_methods import *
    CONFORMANCE = Trial("my_method.py", params={"hidden": 64})
"""
