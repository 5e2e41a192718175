"""The picture for a report, as SVG or PNG, drawn by matplotlib.

matplotlib is imported when a picture is drawn, not before.
"""
