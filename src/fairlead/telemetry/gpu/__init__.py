"""What GPU time costs, shared among the requests it served.

`cost` is the arithmetic, `work` a sink that notes what requests did, `accounts`
closes windows of time, `db` keeps them, `opened` joins it all.
"""
