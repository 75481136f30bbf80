"""Diagnosis of a trained network: has it collapsed, and at which layer?"""
