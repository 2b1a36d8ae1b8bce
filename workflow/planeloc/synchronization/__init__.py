"""Stage `synchronize`: do all cameras show the same moment in a frame?"""
