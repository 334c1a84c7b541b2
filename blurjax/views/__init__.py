"""Views: functions from images to images, and measures of what they change."""
