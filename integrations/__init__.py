"""Adapters to other people's libraries: LangGraph, LangChain chat models, transcripts, trainers."""
